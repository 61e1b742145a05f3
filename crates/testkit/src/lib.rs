//! Fixtures of the test suite.
