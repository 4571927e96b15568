"""Operations whose gradients are written out, faster on a CPU than autograd."""
