"""Write a network and its explanation to one file that runs without autograd."""
