"""Who writes TFLite: each file here holds one `kexport.registry.Engine`, and its presence registers it."""
