//! This function has no configuration: its page calls the API under the same host.
