"""The two towers, their losses, and the tower of items that training has not seen."""
