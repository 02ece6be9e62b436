/// A join-semilattice: replicas that have seen the same writes hold the same value, in whatever order and however
/// often the writes came.
///
/// Shapiro et al., "Conflict-Free Replicated Data Types" (SSS 2011), definition 2.
public protocol Mergeable: Equatable {
    /// Joins `other` into `self` and reports whether anything changed.
    @discardableResult mutating func merge(_ other: borrowing Self) -> Bool
}
