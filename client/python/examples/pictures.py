#!/usr/bin/env python3
"""Classifies the pictures of a folder, several under way at once.

usage: pictures.py MODEL FOLDER [SOCKET]        needs Pillow for JPEG and PNG
"""
import asyncio
import pathlib
import sys

from clpd import AsyncClient, Busy, ClpdError


async def one(client, model, path, turns):
    async with turns:
        while True:
            try:
                result = await client.classify(model, path.read_bytes(), top_k=1)
            except Busy:
                await asyncio.sleep(0.01)
                continue
            except (ClpdError, ValueError, OSError) as e:
                return f"{path.name}: {e}"
            best = result.top[0][0]
            return f"{path.name}: {best.label or best.index} ({100 * best.probability:.1f} %)"


async def main(model, folder, socket=None):
    paths = sorted(p for p in pathlib.Path(folder).iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    turns = asyncio.Semaphore(16)
    async with AsyncClient(socket) as client:
        for line in asyncio.as_completed([one(client, model, p, turns) for p in paths]):
            print(await line)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
