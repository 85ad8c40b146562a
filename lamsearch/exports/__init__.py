"""Use λ* elsewhere: folders that other programs load, and strips of images over λ."""
