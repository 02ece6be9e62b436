/// Names and values of any length, back to back in chunks of 64 KiB, so that storing one allocates nothing.
///
/// A block is a name, which stays, and a value, which may be replaced: in place where it fits, elsewhere where it does
/// not. What is left behind is garbage; when it is a third of everything, the chunks with most of it are emptied one
/// by one into the one being filled. That moves at most two bytes for each one written, and never more than four
/// chunks at a time.
///
/// | block | bytes | |
/// |---|---|---|
/// | owner | 4 | who has to be told when the block moves; all ones once it is garbage |
/// | capacity | 4 | bytes of the whole block, a multiple of 8 |
/// | value's length | 4 | all ones for no value |
/// | name's length | 4 | |
/// | name, value | | |
struct ByteArena: Sendable {
    /// A chunk's number times 8,192, plus the place in the chunk in units of 8 bytes: 32 GiB can be named.
    typealias Place = UInt32

    private struct Chunk: Sendable {
        var bytes: ContiguousArray<UInt8> = []
        /// Bytes of blocks, garbage included.
        var used = 0
        /// Bytes of garbage.
        var garbage = 0
    }

    private static let chunkBytes = 1 << 16
    private static let unitsPerChunk: UInt32 = 1 << 13
    /// A larger block gets a chunk of its own.
    private static let largestShared = chunkBytes / 4
    private static let headerBytes = 16
    private static let nobody = UInt32.max
    private static let noValue = UInt32.max

    private var chunks: ContiguousArray<Chunk> = [Chunk(bytes: ContiguousArray(repeating: 0, count: Self.chunkBytes))]
    /// The chunk being filled.
    private var filling = 0
    private var freeChunks: ContiguousArray<Int> = []
    private var usedBytes = 0
    private var garbageBytes = 0
    /// Whether there is so much garbage that the owner should call `compact`. Looked at when a chunk is full.
    private(set) var isCompactionDue = false

    /// Memory taken, in bytes.
    private(set) var byteCount = Self.chunkBytes

    // MARK: - Reading

    /// Whether a block has this name.
    @inline(__always) func isNamed(_ place: Place, _ name: RawSpan) -> Bool {
        block(place) { block in
            let count = Int(Self.word(block, 12))
            guard count == name.byteCount else { return false }
            return name.withUnsafeBytes { Self.isEqual($0, block + Self.headerBytes, count) }
        }
    }

    /// Lends a block's name.
    func name<R>(_ place: Place, _ body: (RawSpan) -> R) -> R {
        block(place) { block in
            body(UnsafeRawBufferPointer(start: block + Self.headerBytes, count: Int(Self.word(block, 12))).bytes)
        }
    }

    /// Lends a block's value; an empty one if it has none.
    func value<R>(_ place: Place, _ body: (RawSpan) -> R) -> R {
        block(place) { block in
            let start = block + Self.headerBytes + Int(Self.word(block, 12))
            let count = Self.word(block, 8)
            return body(UnsafeRawBufferPointer(start: start, count: count == Self.noValue ? 0 : Int(count)).bytes)
        }
    }

    @inline(__always) private func block<R>(_ place: Place, _ body: (UnsafeRawPointer) -> R) -> R {
        chunks[Int(place / Self.unitsPerChunk)].bytes.withUnsafeBytes {
            body($0.baseAddress.unsafelyUnwrapped + Int(place % Self.unitsPerChunk) * 8)
        }
    }

    @inline(__always) private static func word(_ block: UnsafeRawPointer, _ offset: Int) -> UInt32 {
        block.load(fromByteOffset: offset, as: UInt32.self)
    }

    @inline(__always)
    private static func isEqual(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawPointer, _ count: Int) -> Bool {
        guard let a = a.baseAddress else { return true }
        var at = 0
        while at <= count - 8 {
            guard
                a.loadUnaligned(fromByteOffset: at, as: UInt64.self)
                    == b.loadUnaligned(fromByteOffset: at, as: UInt64.self)
            else { return false }
            at += 8
        }
        while at < count {
            guard a.load(fromByteOffset: at, as: UInt8.self) == b.load(fromByteOffset: at, as: UInt8.self) else {
                return false
            }
            at += 1
        }
        return true
    }

    // MARK: - Writing

    /// Stores a block and returns where; nil for no value.
    mutating func insert(owner: UInt32, name: RawSpan, value: RawSpan?) -> Place {
        let place = reserve(Self.capacity(name.byteCount + (value?.byteCount ?? 0)))
        edit(place) { block in
            block.storeBytes(of: owner, as: UInt32.self)
            block.storeBytes(of: UInt32(name.byteCount), toByteOffset: 12, as: UInt32.self)
            name.withUnsafeBytes { Self.copy($0, to: block + Self.headerBytes) }
            Self.put(value, block)
        }
        return place
    }

    /// Replaces a block's value where it is; false if it does not fit, or if it would leave most of the block unused.
    @inline(__always) mutating func replaceValue(_ place: Place, _ value: RawSpan?) -> Bool {
        edit(place) { block in
            let capacity = Int(Self.word(block, 4))
            let needed = Self.capacity(Int(Self.word(block, 12)) + (value?.byteCount ?? 0))
            guard needed <= capacity, capacity <= needed * 2 + 64 else { return false }
            Self.put(value, block)
            return true
        }
    }

    /// Gives a block's bytes up.
    mutating func remove(_ place: Place) {
        let number = Int(place / Self.unitsPerChunk)
        let capacity = edit(place) { block in
            block.storeBytes(of: Self.nobody, as: UInt32.self)
            return Int(Self.word(block, 4))
        }
        chunks[number].garbage += capacity
        garbageBytes += capacity
        if number != filling, chunks[number].garbage == chunks[number].used { drop(number) }
    }

    @inline(__always) private mutating func edit<R>(_ place: Place, _ body: (UnsafeMutableRawPointer) -> R) -> R {
        chunks[Int(place / Self.unitsPerChunk)].bytes.withUnsafeMutableBytes {
            body($0.baseAddress.unsafelyUnwrapped + Int(place % Self.unitsPerChunk) * 8)
        }
    }

    @inline(__always) private static func put(_ value: RawSpan?, _ block: UnsafeMutableRawPointer) {
        guard let value else {
            block.storeBytes(of: noValue, toByteOffset: 8, as: UInt32.self)
            return
        }
        block.storeBytes(of: UInt32(value.byteCount), toByteOffset: 8, as: UInt32.self)
        let nameBytes = Int(word(UnsafeRawPointer(block), 12))
        value.withUnsafeBytes { copy($0, to: block + headerBytes + nameBytes) }
    }

    @inline(__always)
    private static func copy(_ bytes: UnsafeRawBufferPointer, to target: UnsafeMutableRawPointer) {
        guard let from = bytes.baseAddress else { return }
        target.copyMemory(from: from, byteCount: bytes.count)
    }

    /// Bytes of a block for so many of name and value.
    @inline(__always) private static func capacity(_ content: Int) -> Int { (content + headerBytes + 7) & ~7 }

    /// Room for a block, whose capacity is noted in it.
    private mutating func reserve(_ capacity: Int) -> Place {
        let number: Int
        if capacity > Self.largestShared {
            number = makeChunk(capacity)
        } else {
            if chunks[filling].used + capacity > Self.chunkBytes {
                let full = filling
                filling = makeChunk(Self.chunkBytes)
                if chunks[full].garbage == chunks[full].used { drop(full) }
                isCompactionDue = isCrowded
            }
            number = filling
        }
        let offset = chunks[number].used
        chunks[number].used += capacity
        usedBytes += capacity
        let place = UInt32(number) * Self.unitsPerChunk + UInt32(offset / 8)
        edit(place) { $0.storeBytes(of: UInt32(capacity), toByteOffset: 4, as: UInt32.self) }
        return place
    }

    private mutating func makeChunk(_ bytes: Int) -> Int {
        byteCount += bytes
        let chunk = Chunk(bytes: ContiguousArray(repeating: 0, count: bytes))
        if let free = freeChunks.popLast() {
            chunks[free] = chunk
            return free
        }
        precondition(chunks.count < Int(UInt32.max / Self.unitsPerChunk), "documents take at most 32 GiB")
        chunks.append(chunk)
        return chunks.count - 1
    }

    private mutating func drop(_ number: Int) {
        usedBytes -= chunks[number].used
        garbageBytes -= chunks[number].garbage
        byteCount -= chunks[number].bytes.count
        chunks[number] = Chunk()
        freeChunks.append(number)
    }

    // MARK: - Compaction

    private var isCrowded: Bool { usedBytes > 4 * Self.chunkBytes && garbageBytes * 3 > usedBytes }

    /// Empties the chunks with most garbage. `moved` is told of each block that has a new place.
    mutating func compact(_ moved: (_ owner: UInt32, _ place: Place) -> Void) {
        isCompactionDue = false
        // A third of what is emptied is garbage at least, so three chunks yield one, which is what was just opened.
        for _ in 0..<4 where isCrowded {
            let fullest = chunks.indices.max { weight($0) < weight($1) }
            guard let fullest, weight(fullest) > 0 else { return }
            empty(fullest, moved)
        }
    }

    /// How much a chunk has to gain: large blocks have chunks of their own, which go with them.
    private func weight(_ number: Int) -> Int { number == filling ? 0 : chunks[number].garbage }

    private mutating func empty(_ number: Int, _ moved: (UInt32, Place) -> Void) {
        let old = chunks[number].bytes
        let used = chunks[number].used
        old.withUnsafeBytes { bytes in
            var offset = 0
            while offset < used {
                let block = UnsafeRawBufferPointer(rebasing: bytes[offset...])
                let owner = block.load(as: UInt32.self)
                let capacity = Int(block.load(fromByteOffset: 4, as: UInt32.self))
                if owner != Self.nobody {
                    let place = reserve(capacity)
                    edit(place) { $0.copyMemory(from: block.baseAddress.unsafelyUnwrapped, byteCount: capacity) }
                    moved(owner, place)
                }
                offset += capacity
            }
        }
        garbageBytes += used - chunks[number].garbage
        chunks[number].garbage = used
        drop(number)
    }
}
