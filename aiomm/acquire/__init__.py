"""Events, their plan, and the acquisition that carries them out."""
