//! What a program hands over together with a callback.

use std::ffi::c_void;

/// Freed once, when whatever holds it is dropped: also when the registration of its callback fails.
pub(super) struct Userdata {
    data: *mut c_void,
    free: Option<unsafe extern "C" fn(userdata: *mut c_void)>,
}

// SAFETY: the header says in which threads a callback is called, and that its userdata must bear that; the library
// itself only carries the pointer.
unsafe impl Send for Userdata {}
// SAFETY: as above.
unsafe impl Sync for Userdata {}

impl Userdata {
    pub(super) fn new(
        data: *mut c_void,
        free: Option<unsafe extern "C" fn(userdata: *mut c_void)>,
    ) -> Userdata {
        Userdata { data, free }
    }

    /// A method, so that closures capture all of it and not only the pointer.
    pub(super) fn get(&self) -> *mut c_void {
        self.data
    }
}

impl Drop for Userdata {
    fn drop(&mut self) {
        if let Some(free) = self.free {
            // SAFETY: whoever registered the callback gave both for this one call.
            unsafe { free(self.data) }
        }
    }
}
