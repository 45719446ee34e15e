"""What `limelight doctor` says: whether the installation works, and whether a network is read well.

`installation` needs nothing but Python, so that it also runs where torch does not.
"""
