//! How a statically linked program looks up names.
//!
//! glibc reads `/etc/nsswitch.conf` and loads the modules that it names, as `mdns4_minimal` or `systemd`, from the machine. A
//! program that has glibc linked in would load them together with the machine's own glibc, of another version, and may crash.
//! What is built into glibc reads `/etc/hosts`, asks the servers of `/etc/resolv.conf`, and reads `/etc/passwd` and
//! `/etc/group`; that is all that is wanted here.

/// Confines lookups to what is built in, where glibc is linked in; call it before any other thread is started.
#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
#[expect(
    unsafe_code,
    reason = "glibc has no other way to choose the modules, and no crate has this function"
)]
pub(crate) fn confine() {
    use std::ffi::{CStr, c_char, c_int};

    unsafe extern "C" {
        fn __nss_configure_lookup(database: *const c_char, line: *const c_char) -> c_int;
    }
    const LINES: [(&CStr, &CStr); 3] = [
        (c"hosts", c"files dns"),
        (c"passwd", c"files"),
        (c"group", c"files"),
    ];
    for (database, line) in LINES {
        // SAFETY: both are texts that end with NUL and live for ever, and no other thread runs yet. It fails only for a
        // database that glibc does not know.
        unsafe { __nss_configure_lookup(database.as_ptr(), line.as_ptr()) };
    }
}

/// Leaves lookups to the C library of the machine.
#[cfg(not(all(target_env = "gnu", target_feature = "crt-static")))]
pub(crate) const fn confine() {}
