"""What crosses the network: frames, request and answer bodies, the gRPC service."""
