@testable import NodeCore

/// NodeCore's UUID, for files that import Foundation and its own; the module's name cannot qualify it, for its main
/// type has the same.
typealias EventID = UUID
