#!/bin/bash
set -e
cd /app/current
find . -type l -delete
while read -r name version; do
    ln -s "../releases/$name/$version" "$name"
done < ../manifest.txt
