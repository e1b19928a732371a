//! Who may, and why not.
