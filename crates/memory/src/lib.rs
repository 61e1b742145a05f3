//! Snapshot memory layers and the page server.
