//! The REST client: logins, tokens, faults of the wire, and whether every call of a
//! span is found whatever the PBX ignores.

mod fake;
mod login;
mod office;
mod paging;
mod simulated;
mod wire;
