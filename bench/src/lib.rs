//! What orders cost the backends in numbers that do not depend on how fast a machine is. The bench shows them, and a test holds them where
//! they are.

pub mod counts;
