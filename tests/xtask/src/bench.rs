//! Figures of what was built.
