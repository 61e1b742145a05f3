//! REST and WebSocket wire types.
