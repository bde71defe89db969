"""Programs that take training steps when told to, one library in each; started by their path, so that they load no more."""
