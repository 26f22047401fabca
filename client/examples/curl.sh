#!/bin/sh
# clpd by curl: what is served, a picture, a tensor as JSON, a tensor as bytes.
# usage: curl.sh MODEL PICTURE.jpg [SOCKET]          SOCKET: of HTTP; default /run/clpd/http.sock
set -eu
model=$1 picture=$2 socket=${3:-/run/clpd/http.sock}
ask() { # PATH and curl's options; an error is told in words, and ends this
    path=$1; shift
    curl --silent --show-error --fail-with-body --unix-socket "$socket" "$@" "http://clpd$path"
}

echo "what $model takes and gives:"
ask "/v2/models/$model"; echo

echo "what is in $picture:"
ask "/v2/models/$model/classify?k=3" --data-binary "@$picture"

shape=$(ask "/v2/models/$model" | sed 's/.*"inputs":\[{[^}]*"shape":\[-1,\([0-9,]*\)\].*/\1/')
input=$(ask "/v2/models/$model" | sed 's/.*"inputs":\[{"name":"\([^"]*\)".*/\1/')
count=$(($(echo "$shape" | tr , '*')))
body=$(mktemp)
trap 'rm -f "$body"' EXIT

echo "a tensor of zeros as JSON:"
{ printf '{"inputs":[{"name":"%s","shape":[1,%s],"datatype":"FP32","data":[0' "$input" "$shape"
  yes ',0' | head -n $((count - 1)) | tr -d '\n'
  printf ']}]}'; } >"$body"
ask "/v2/models/$model/infer" --data-binary "@$body" | cut -c 1-200

echo "the same as bytes, and the answer's size:"
head -c $((4 * count)) /dev/zero >"$body"
ask "/v2/models/$model/infer" --data-binary "@$body" --header 'Inference-Header-Content-Length: 0' | wc -c
