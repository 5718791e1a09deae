"""Ways to damage a file; each takes a generator of random numbers and the content, and returns the new content."""


def flip(rng, content):
    """Flip a bit."""
    if not content:
        return b"\x90"
    index = rng.randrange(len(content))
    return content[:index] + bytes([content[index] ^ (1 << rng.randrange(8))]) + content[index + 1 :]


def cut(rng, content):
    """Remove some of the end: a part of it, or a few bytes."""
    few = min(len(content), rng.choice([1, 40, 41, 100]))
    return content[: rng.choice([rng.randrange(len(content) + 1), len(content) - few])]


def empty(rng, content):
    """Remove everything."""
    return b""


def hole(rng, content):
    """Zero a block, as after a power failure."""
    start = rng.randrange(len(content) + 1)
    size = min(len(content) - start, rng.choice([1, 512, 4096]))
    return content[:start] + bytes(size) + content[start + size :]


def lengthen(rng, content):
    """Append a copy of the start."""
    return content + content[: rng.randrange(1, 2000)]


WAYS = [flip, cut, empty, hole, lengthen]


def damage(rng, path):
    """Damage a file in a random way, deletion included, and return the name of the way."""
    if rng.random() < 0.15:
        path.unlink(missing_ok=True)
        return "delete"
    way = rng.choice(WAYS)
    path.write_bytes(way(rng, path.read_bytes()))
    return way.__name__
