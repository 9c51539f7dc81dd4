"""Work over several services that is done once or undone, whatever crashes: the core, its shell, and the checkout.

* `core`: which step comes next, forwards or backwards. Pure.
* `runner`: does the steps, commits the turn, gives up what it does not own any more.
* `steps`: the definitions of the checkout's sagas: each action beside its undo.
* `plan`: what a checkout promises, as messages of the contract.
* `checkout`: opening, confirming and cancelling, from the request to the answer.
"""
