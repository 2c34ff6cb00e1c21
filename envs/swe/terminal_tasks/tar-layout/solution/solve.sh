#!/bin/bash
set -e
cd /app
name=tool-$(cat project/VERSION)
work=$(mktemp -d)
cp -r project "$work/$name"
cd "$work/$name"
mv src lib
rm -r tests VERSION
find . -name .cache -prune -exec rm -r {} +
find . \( -name '*.tmp' -o -name '*~' \) -delete
cd ..
tar -czf /app/release.tar.gz "$name"
