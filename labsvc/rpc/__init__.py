"""What a gRPC service needs beside its handlers, a module per subject."""
