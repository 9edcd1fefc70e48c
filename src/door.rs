//! The end of listening.

use std::os::fd::AsFd;

use rustix::net::Shutdown;

/// Stops to listen, at once. Closing is not enough: between its fork and its exec a child
/// process (one of a sink, say) has a copy of the socket, and who wants to listen at the
/// same address again meanwhile, after a reload, would find it taken.
pub fn shut(listener: impl AsFd) {
    // Systems other than Linux may refuse it; then it is closed, and that is all.
    let _ = rustix::net::shutdown(&listener, Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_address_is_free_at_once_though_somebody_has_a_copy() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, copy) = (listener.local_addr().unwrap(), listener.try_clone().unwrap());
        drop(listener);
        assert_eq!(TcpListener::bind(address).unwrap_err().kind(), ErrorKind::AddrInUse);
        shut(copy.try_clone().unwrap());
        TcpListener::bind(address).unwrap();
        drop(copy);
    }
}
