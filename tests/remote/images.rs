//! Images that come from elsewhere.
