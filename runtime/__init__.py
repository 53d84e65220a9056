"""Floor 6: runs a plan. The bundle, the edge client, the cloud server and the verification live here."""
