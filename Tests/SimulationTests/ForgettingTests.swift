import Testing

@testable import Simulate

@Suite("What a cluster at rest gives up")
struct ForgettingTests {
    private func left(
        _ metrics: [String: Int], named: [String] = ["a"], removals: Bool = true, operations: Bool = true
    ) -> String? {
        Forgetting.left(
            metrics, named: named, living: ["a", "b"], removals: removals, operations: operations, at: 3)
    }

    @Test("Nothing is left where all is forgotten, or need not be")
    func nothing() {
        #expect(left(["hypha_tombstones": 0, "hypha_operations": 0]) == nil)
        #expect(left(["hypha_tombstones": 2, "hypha_operations": 1], removals: false, operations: false) == nil)
    }

    @Test("A log that nobody writes, a removal and an operation are named")
    func named() {
        #expect(left([:], named: ["a", "gone"])?.contains("names log gone") == true)
        #expect(left(["hypha_tombstones": 2])?.contains("2 removals") == true)
        #expect(left(["hypha_operations": 1])?.contains("1 operations") == true)
    }
}
