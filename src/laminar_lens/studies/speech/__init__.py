"""Whether words of different classes, such as nouns and adjectives, travel differently along the layers."""
