"""Other services that promo asks.

Map: `profile` facts about a person.
"""
