"""What tests of several folders share, one definition each."""
