//! Sandbox, fakes and fault wrappers for the end-to-end tests.
