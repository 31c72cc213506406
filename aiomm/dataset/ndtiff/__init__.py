"""NDTiff, the dataset format of Micro-Manager and pycro-manager: writing 3.3, reading 2.x and 3.x."""
