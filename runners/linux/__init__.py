"""A small Linux guest of Debian's kernel and one program of ours, which drives ordinary devices."""
