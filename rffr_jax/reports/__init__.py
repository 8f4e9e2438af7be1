"""Pages and contact sheets that several rooms draw."""
