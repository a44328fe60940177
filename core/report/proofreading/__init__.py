"""The proofreading page: clips of a data set, to be heard and corrected in a browser anywhere."""
