"""One readable function for each study."""
