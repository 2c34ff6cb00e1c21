"""Agents of games for several: who plays which seat, trainers, self-play, evaluation. Nothing is imported here."""
