//! The template tells this function nothing: its page asks the API that it stands beside.
