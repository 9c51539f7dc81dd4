"""What only those who change the platform need: code generation and generated documents."""
