"""What users would otherwise run, each as the real thing and with flags that suit the work."""
