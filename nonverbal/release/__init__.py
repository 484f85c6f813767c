"""Release of models: facts about a run, combined terms, card, passport, verification, upload to the Hub."""
