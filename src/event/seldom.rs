//! A value that is mostly blank, of which there are very many.

use std::ops::{Deref, DerefMut};

/// A type with a blank value that can be shared.
pub trait Blank: Sized + 'static {
    /// The blank value.
    const BLANK: &'static Self;
}

/// A value that takes one word until it is first written to. Reading a blank one gives [`Blank::BLANK`]; taking it by `&mut`
/// makes room for it, so look first where that is avoidable.
#[derive(Debug)]
pub struct Seldom<T>(Option<Box<T>>);

impl<T> Default for Seldom<T> {
    fn default() -> Self {
        Seldom(None)
    }
}

impl<T: Blank> Deref for Seldom<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or(T::BLANK)
    }
}

impl<T: Blank + Default> DerefMut for Seldom<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

impl<T> Seldom<T> {
    /// The value, if it was ever written to.
    #[inline]
    pub fn written(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }

    /// Makes it blank again and gives what it was.
    pub fn take(&mut self) -> Option<Box<T>> {
        self.0.take()
    }

    /// Bytes on the heap for the value itself.
    pub fn heap_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |_| super::allotted(std::mem::size_of::<T>()))
    }
}

impl<T: 'static> Blank for Vec<T> {
    const BLANK: &'static Self = &Vec::new();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_until_it_is_written_to() {
        assert_eq!(size_of::<Seldom<Vec<u8>>>(), size_of::<usize>());
        let mut seldom = Seldom::<Vec<u8>>::default();
        assert!(seldom.is_empty() && seldom.written().is_none() && seldom.heap_bytes() == 0);
        seldom.push(1);
        assert_eq!((&**seldom, seldom.heap_bytes()), (&[1][..], 32));
        assert_eq!(seldom.take().map(|held| held.len()), Some(1));
        assert!(seldom.is_empty());
    }
}
