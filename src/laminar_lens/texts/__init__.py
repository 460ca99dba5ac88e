"""Texts as they come: read from files, and made into tokens, each in one way for the whole package.

Nothing here needs torch: arguments are checked before anything heavy is imported.
"""
