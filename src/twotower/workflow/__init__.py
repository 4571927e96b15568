"""What a person does in one go; wires the floors below together."""
