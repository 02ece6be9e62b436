/// Vectors by number, compared by their angle with one that is given: exact, in one pass over all of the same dimension.
///
/// Each is kept at length 1 in 32-bit floats, so that the cosine is a scalar product. That is added up in eight lanes in a
/// fixed order, so every node that has the same vectors gets the same, to the last bit.
struct VectorIndex: Sendable {
    typealias Lanes = SIMD8<Float>

    /// The vectors of one dimension, back to back, each filled up with zeroes to whole lanes.
    private struct Shelf: Sendable {
        var numbers: [UInt32] = []
        var lanes: ContiguousArray<Lanes> = []
    }

    private var shelves: [Int: Shelf] = [:]
    /// Where the vector of a number lies.
    private var places: [UInt32: (dimension: Int, at: Int)] = [:]

    /// How many there are.
    var count: Int { places.count }
    /// Memory that they take, in bytes.
    private(set) var byteCount = 0

    /// What one of so many dimensions takes, in bytes.
    static func bytes(_ dimension: Int) -> Int { width(dimension) * MemoryLayout<Lanes>.stride + 48 }

    private static func width(_ dimension: Int) -> Int { (dimension + Lanes.scalarCount - 1) / Lanes.scalarCount }

    /// A vector of length 1 in the same direction; nil for one without direction.
    static func unit(_ vector: [Float]) -> ContiguousArray<Lanes>? {
        var sum = 0.0
        for value in vector { sum += Double(value) * Double(value) }
        guard sum > 0, sum.isFinite else { return nil }
        let length = sum.squareRoot()
        var lanes = ContiguousArray(repeating: Lanes(repeating: 0), count: width(vector.count))
        for (i, value) in vector.enumerated() {
            lanes[i / Lanes.scalarCount][i % Lanes.scalarCount] = Float(Double(value) / length)
        }
        return lanes
    }

    /// Sets the vector of a number; nil, or one without direction, removes it.
    mutating func set(_ number: UInt32, _ vector: [Float]?) {
        remove(number)
        guard let vector, let lanes = Self.unit(vector) else { return }
        var shelf = shelves[vector.count] ?? Shelf()
        shelves[vector.count] = nil
        places[number] = (vector.count, shelf.numbers.count)
        shelf.numbers.append(number)
        shelf.lanes.append(contentsOf: lanes)
        shelves[vector.count] = shelf
        byteCount += Self.bytes(vector.count)
    }

    /// The last of its dimension takes the place of one that is removed.
    mutating func remove(_ number: UInt32) {
        guard let (dimension, at) = places.removeValue(forKey: number), var shelf = shelves[dimension] else { return }
        shelves[dimension] = nil
        let width = Self.width(dimension)
        let last = shelf.numbers.count - 1
        if at < last {
            shelf.numbers[at] = shelf.numbers[last]
            places[shelf.numbers[at]] = (dimension, at)
            for lane in 0..<width { shelf.lanes[at * width + lane] = shelf.lanes[last * width + lane] }
        }
        shelf.numbers.removeLast()
        shelf.lanes.removeLast(width)
        if !shelf.numbers.isEmpty { shelves[dimension] = shelf }
        byteCount -= Self.bytes(dimension)
    }

    /// Gives each vector of the query's dimension its score: the cosine, or zero where that is negative.
    func forEach(like query: [Float], _ body: (_ number: UInt32, _ score: Double) -> Void) {
        guard let wanted = Self.unit(query), let shelf = shelves[query.count] else { return }
        let width = wanted.count
        wanted.withUnsafeBufferPointer { wanted in
            shelf.lanes.withUnsafeBufferPointer { lanes in
                for (at, number) in shelf.numbers.enumerated() {
                    var sum = Lanes(repeating: 0)
                    for lane in 0..<width { sum += lanes[at * width + lane] * wanted[lane] }
                    var cosine: Float = 0
                    for lane in 0..<Lanes.scalarCount { cosine += sum[lane] }
                    body(number, min(max(Double(cosine), 0), 1))
                }
            }
        }
    }
}
