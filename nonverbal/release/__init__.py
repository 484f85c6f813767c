"""Models for other people's hands: facts of a run, what its licences allow, card, passport, verification, the Hub."""
