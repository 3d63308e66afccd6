//! The types of the admin endpoint.
