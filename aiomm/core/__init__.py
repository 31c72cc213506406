"""The microscope: one typed interface to MMCore, in this process."""
