from ..figures import _not_drawn as _not_drawn
